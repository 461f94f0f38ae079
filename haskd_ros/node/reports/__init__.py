"""What the node says of itself: statuses, faults, its log."""
