"""`segue worker`: events in, state on disk, effects out; and the copy of the model that answers."""
