"""An app with tasks that only a pool of processes can run."""
