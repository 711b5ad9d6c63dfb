"""What brings PLACO onto machines: set-up, the lab on one machine, and the files for real hosts."""
