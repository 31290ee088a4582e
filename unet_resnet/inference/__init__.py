"""A checkpoint becomes a function on photos: load, fuse, find inputs, paint, write outputs."""
