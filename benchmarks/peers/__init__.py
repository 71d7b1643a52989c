"""The same sweep by other means, each as a plain program of its own, and the floors below which none can go."""
