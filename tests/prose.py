"""English text written for these tests."""

PARAGRAPHS = (
    "The ferry left the harbour at six. Nobody waved. A dog barked once, twice, and then lay down in the shade of the ticket office.",
    'Mrs. Adler counted the boxes: twelve, no, thirteen. "Did you order thirteen?" she asked. Her brother, who never ordered anything, '
    "shrugged. The thirteenth box was smaller than the rest; it had no label, and it rattled.",
    "In 2019 the council spent $1,250,000 on the bridge (about 3.5 percent of its budget). It was not enough. Engineers had asked for "
    "twice as much, and they had asked early — in March, before the floods.",
    "Can a river remember? Dr. Okafor thinks so. Her team measured the sediment at forty-two points between the mill and the old weir. "
    "What they found surprised them: every layer kept the shape of the winter before, and the winter before that.",
    "Well-known facts, well known to everyone, are seldom checked. We checked them. Some were true; some weren't; one was a misprint.",
    "Introduction",
    "She ran. He ran. They all ran, past the bakery, past the school with its broken clock, over the footbridge and down to the water, "
    "where the last boat of the evening was already turning its nose towards the open sea...",
    "The committee (see Sec. 4 and Fig. 2) met at 10:30 a.m. and adjourned at noon. No vote was taken! The U.S. delegation had left.",
    "He wrote three letters that week. The first was to his sister. The second was to the bank. The third, which he tore up twice and "
    "began again on better paper, was to a woman whose name he was no longer sure how to spell.",
    "Prices rose. Wages did not. By autumn the market hall stood half empty, and those who still came bought potatoes, onions and salt.",
)


def documents(number: int) -> list[str]:
    """Documents of a few paragraphs each, no two alike in order, all from the same paragraphs."""
    size = len(PARAGRAPHS)
    return ["\n\n".join(PARAGRAPHS[(i * 3 + j * (1 + i % 4)) % size] for j in range(2 + i % 5)) for i in range(number)]
