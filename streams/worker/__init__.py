"""`segue worker`: events in, state on disk, effects out; and the replica of the model that serves."""
