"""What leadctl keeps in a target: its identity, the journal of runs, the lock, the guard."""
