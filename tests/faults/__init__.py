"""What must go right when something goes wrong: every fault is done for real."""
