"""The whole way in one dock, its keys and the window of the demo."""
