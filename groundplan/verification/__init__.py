"""``groundplan verify``: does a stack work, and does it keep its promises? One dated report."""
