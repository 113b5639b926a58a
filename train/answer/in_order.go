package answer

// settled is a reply, or the reason why there is none.
type settled struct {
	Reply
	skipped error
}

// inOrder hands out what became of items in their order, whatever the order is in which it is known.
type inOrder struct {
	write             func(i int, s settled) error
	waiting           map[int]settled // for an earlier one
	finished, written int
	err               error
}

func newInOrder(n int, write func(i int, s settled) error) *inOrder {
	return &inOrder{write: write, waiting: make(map[int]settled, n)}
}

func (o *inOrder) put(i int, s settled) {
	o.waiting[i] = s
	o.finished++
	for o.err == nil {
		s, ok := o.waiting[o.written]
		if !ok {
			return
		}
		delete(o.waiting, o.written)
		if o.err = o.write(o.written, s); o.err == nil {
			o.written++
		}
	}
}

func (o *inOrder) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}
