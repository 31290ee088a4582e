"""What makes a long training survive: resume, processes, memory, recomputation, manifest."""
