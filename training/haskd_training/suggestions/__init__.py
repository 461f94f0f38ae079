"""Which sweeps, and which parts of them, are most worth a human's labels."""
