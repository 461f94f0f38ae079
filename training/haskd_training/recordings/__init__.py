"""A recording as it is: messages, cameras, transforms, labels."""
