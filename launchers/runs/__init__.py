"""How a run goes: settings, flags, loop, tables; imports no sibling."""
