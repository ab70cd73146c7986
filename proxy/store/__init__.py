"""Local disk: the spool with its uploads in progress."""
