"""What every HTTP server of Proa needs: the gate, errors as clients expect them, pages, metrics."""
