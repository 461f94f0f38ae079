"""What every room uses: settings, folders of runs, threads, progress, the machine."""
