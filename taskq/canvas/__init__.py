"""Canvas: calls of tasks as values, and workflows made of them. Plans what is sent, and sends nothing by itself."""
