"""What the demo sends while it runs: orders, files, workflows and failures, to be seen in the admin.

Called by ``testproject.demo`` while a worker runs. ``Traffic.begin()`` sends one of everything, ``go_on()`` a few more.
"""

from __future__ import annotations

import random

from taskq import chain, chord, group

from .shop import tasks


class Traffic:
    """The customers of the shop, who come again and again."""

    def __init__(self) -> None:
        self.order = 0
        self.dice = random.Random(7)

    def begin(self) -> None:
        """Send what there is one of: scheduled mails, a long task, a file, a task that nobody will take."""
        for number in range(1, 6):
            tasks.newsletter.apply_async((number,), countdown=3600 * number)
        tasks.rebuild_index.delay()
        tasks.import_orders.delay("orders-2026.csv")
        tasks.chatter.delay()
        tasks.newsletter.apply_async((6,), queue="archive")
        self.pictures("cup-1.png")
        self.count_stock()
        for _ in range(6):
            self.buy()

    def go_on(self) -> None:
        """Send a little more: an order, and now and then something larger."""
        self.buy()
        if self.dice.random() < 0.2:
            self.dice.choice((self.count_stock, self.import_file, lambda: self.pictures("cup-2.png")))()

    def buy(self) -> None:
        """Order something: charge, then pack and write a mail."""
        self.order += 1
        articles = [f"cup-{self.dice.randrange(6)}" for _ in range(2)]
        paid = tasks.charge.si(self.order, "4111 1111 1111 1111")
        chain(paid, group(tasks.pack.si(self.order, articles), tasks.send_mail.si(self.order))).delay()
        tasks.find_price.delay(articles[0])

    def count_stock(self) -> None:
        """Count the shelves, and report."""
        chord([tasks.count_shelf.s(shelf) for shelf in range(12)], tasks.stock_report.s()).delay()

    def import_file(self) -> None:
        """Import a file."""
        tasks.import_orders.delay(f"orders-{self.order}.csv", rows=20)

    def pictures(self, picture: str) -> None:
        """Resize a picture, and publish it."""
        chain(tasks.resize.s(picture), tasks.publish.s()).delay()
