"""``groundplan verify``: does a stack do what it is for, and hold what it promises? One dated report."""
