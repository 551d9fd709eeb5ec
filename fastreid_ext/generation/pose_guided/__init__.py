"""Training of the pose-guided generator of Diff-ID on images whose bodies are known."""
