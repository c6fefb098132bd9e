"""The life of one run: who may end it, where its events go, who follows it, who executes it."""
