"""What the command line does beside serving: images go from a container engine to a relay and back."""
