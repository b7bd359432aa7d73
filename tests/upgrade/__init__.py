"""What an earlier version wrote, read by this one."""
