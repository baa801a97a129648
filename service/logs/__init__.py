"""What the process writes about itself, one line for each thing that happened."""
