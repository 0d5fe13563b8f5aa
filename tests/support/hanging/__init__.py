"""An app that has a worker's main process hang: its loop or its store thread, as ``TEST_HANG`` says."""
