"""What the node does with clouds, done with recorded ones."""
