"""Measurements that the documentation quotes, each a command that anybody can run again."""
