"""Learning to refine: pose errors, training sets, and the loop."""
