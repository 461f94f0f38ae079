"""Where sensors are, and what follows from it: motion compensation, the clouds of several LiDARs in
one, and a memory of places."""
