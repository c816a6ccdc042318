"""What is done to a graph between recording and execution, one small file each."""
