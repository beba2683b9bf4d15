"""What `fsr-run` does: pictures, videos and cameras in, restored ones and records out."""
