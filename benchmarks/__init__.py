"""The same work in Flambeau and in other libraries, side by side: `make bench`."""
