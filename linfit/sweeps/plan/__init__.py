"""Tell what a sweep would do, and run nothing."""
