"""What the model claims, held on worlds whose truth is known: `segue simulate --prove`."""
