package checkpoints

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// A pickle is a program, so it is read twice: checkPickle walks it without running it and refuses anything that
// torch.save does not write; only then does the machine run it. The walk also bounds the machine's memory: the machine
// would reserve the length stated by an opcode before it checks that the bytes exist.
const (
	maxPickle = 8 << 20 // bytes; a state dict needs about 100 per tensor
	maxMarks  = 64      // tuples, dicts and lists open at a time; a state dict needs about 5
)

// storageClass is torch.*Storage: the type of its elements.
type storageClass Dtype

// globals are the names that a pickle may use; all others are refused.
var globals = map[string]any{
	"collections OrderedDict":         &types.OrderedDictClass{},
	"torch._utils _rebuild_tensor_v2": rebuildTensor{},
	"torch._utils _rebuild_parameter": rebuildParameter{},
	"torch DoubleStorage":             storageClass(F64),
	"torch FloatStorage":              storageClass(F32),
	"torch HalfStorage":               storageClass(F16),
	"torch BFloat16Storage":           storageClass(BF16),
	"torch LongStorage":               storageClass(I64),
	"torch IntStorage":                storageClass(I32),
	"torch ShortStorage":              storageClass(I16),
	"torch CharStorage":               storageClass(I8),
	"torch ByteStorage":               storageClass(U8),
	"torch BoolStorage":               storageClass(Bool),
}

func unpickle(program []byte, a *archive) (root any, err error) {
	if err := checkPickle(program); err != nil {
		return nil, err
	}
	defer func() { // the machine trusts the order of opcodes and indexes an empty stack
		if fault := recover(); fault != nil {
			err = fmt.Errorf("malformed: %v", fault)
		}
	}()
	machine := pickle.NewUnpickler(bytes.NewReader(program))
	machine.PersistentLoad = a.load
	machine.FindClass = func(module, name string) (any, error) {
		return globals[module+" "+name], nil // checkPickle has seen every name
	}
	return machine.Load()
}

// operands tells what follows an opcode of a pickle in protocol 2, for those opcodes that torch.save writes (the list
// that PyTorch's torch/_weights_only_unpickler.py accepts). A positive number is a count of bytes, a negative one the
// width of a count.
var operands = map[byte]int{
	0x80: 1,                 // PROTO
	'}':  0, ']': 0, ')': 0, // EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE
	'(': 0, 't': 0, 'u': 0, 'e': 0, // MARK and what closes it: TUPLE, SETITEMS, APPENDS
	0x85: 0, 0x86: 0, 0x87: 0, // TUPLE1, TUPLE2, TUPLE3
	's': 0, 'a': 0, // SETITEM, APPEND
	'N': 0, 0x88: 0, 0x89: 0, // NONE, NEWTRUE, NEWFALSE
	'K': 1, 'M': 2, 'J': 4, 'G': 8, // BININT1, BININT2, BININT, BINFLOAT
	0x8a: -1, 'U': -1, 'X': -4, // LONG1, SHORT_BINSTRING, BINUNICODE
	'q': 1, 'r': 4, 'h': 1, 'j': 4, // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
	'Q': 0, 'R': 0, 'b': 0, '.': 0, // BINPERSID, REDUCE, BUILD, STOP
	'c': 0, // GLOBAL, followed by two lines
}

func checkPickle(program []byte) error {
	if len(program) > maxPickle {
		return fmt.Errorf("%d bytes, more than the limit of %d", len(program), maxPickle)
	}
	if !bytes.HasPrefix(program, []byte{0x80, 2}) {
		return errors.New("not in protocol 2, as torch.save writes it")
	}
	marks := 0
	for at := 0; at < len(program); {
		opcode, rest := program[at], program[at+1:]
		switch opcode {
		case '.':
			return nil
		case '(':
			marks++
		case 't', 'u', 'e':
			marks--
		}
		if marks < 0 || marks > maxMarks {
			return fmt.Errorf("byte %d: tuples and dicts are nested %d deep", at, marks)
		}
		n, err := operand(opcode, rest)
		if err != nil {
			return fmt.Errorf("byte %d: %w", at, err)
		}
		at += 1 + n
	}
	return errors.New("truncated")
}

// operand is the number of bytes that belong to an opcode.
func operand(opcode byte, rest []byte) (int, error) {
	n, ok := operands[opcode]
	if !ok {
		return 0, fmt.Errorf("refused opcode 0x%02x, which torch.save does not write", opcode)
	}
	if opcode == 'c' {
		return global(rest)
	}
	if n < 0 {
		var count [4]byte
		width := -n
		if copy(count[:width], rest) < width {
			return 0, errors.New("truncated")
		}
		n = width + int(binary.LittleEndian.Uint32(count[:]))
	}
	if n > len(rest) {
		return 0, fmt.Errorf("opcode 0x%02x needs %d bytes, %d are left", opcode, n, len(rest))
	}
	return n, nil
}

// global checks the two lines after GLOBAL, module and name.
func global(rest []byte) (int, error) {
	module, more, _ := bytes.Cut(rest, []byte("\n"))
	name, _, ended := bytes.Cut(more, []byte("\n"))
	if !ended {
		return 0, errors.New("truncated")
	}
	if _, ok := globals[string(module)+" "+string(name)]; !ok {
		return 0, fmt.Errorf("refused to run %.80q of %.80q: weights do not need it, and it may be harmful; "+
			"use the model's safetensors files", name, module)
	}
	return len(module) + 1 + len(name) + 1, nil
}
