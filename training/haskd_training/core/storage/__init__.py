"""Files in object stores: named by URL, read through copies on this machine."""
