"""The files of PandaSet's own download."""
