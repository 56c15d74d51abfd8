"""What is written: plain values, versions, and folders that are whole or not there."""
