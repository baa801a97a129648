"""Media of requests: fetched, bounded, and decoded in processes of their own."""
