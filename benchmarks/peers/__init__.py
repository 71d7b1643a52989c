"""The same sweep by other means, each as a program of its own, and the floors of its time."""
