"""Where the sensor is, and what follows from it: motion compensation, and a memory of places."""
