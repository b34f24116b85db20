"""What request bodies must look like."""
