"""The one accounting kernel and the clocks and environments that are views of it."""
