"""How the three doors of system C write prompts and ids. Source: seed protocols, section 5."""

NEW = "new"


def normalised(prompt: str) -> str:
    """Drop blank lines."""
    return "\n".join(line for line in prompt.splitlines() if line.strip())


def new_or(id_: str) -> str:
    """Return an id, "" for the word that means a new one."""
    return "" if id_ == NEW else id_
