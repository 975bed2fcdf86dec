package frame

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "k8s-burst/runner/internal/pb/burst/v1"
)

// Fields of the frames that carry most of the bytes, as in pod.proto.
const (
	toPodInput    = 2
	fromPodOutput = 2
	inputOffset   = 1
	inputData     = 2
	inputEOF      = 3
	outputStream  = 1
	outputOffset  = 2
	outputData    = 3
)

// unmarshal is proto.Unmarshal; but the data of Input and Output is not copied: it lies in buf.
func unmarshal(buf []byte, m proto.Message) error {
	switch m := m.(type) {
	case *pb.ToPod:
		input := &pb.Input{}
		if onlyField(buf, toPodInput, func(body []byte) bool { return readInput(body, input) }) {
			m.Frame = &pb.ToPod_Input{Input: input}
			return nil
		}
	case *pb.FromPod:
		output := &pb.Output{}
		if onlyField(buf, fromPodOutput, func(body []byte) bool { return readOutput(body, output) }) {
			m.Frame = &pb.FromPod_Output{Output: output}
			return nil
		}
	}
	return proto.Unmarshal(buf, m)
}

// onlyField has read take the one message that buf consists of. It returns false where buf is anything else.
func onlyField(buf []byte, number protowire.Number, read func([]byte) bool) bool {
	got, kind, n := protowire.ConsumeTag(buf)
	if n < 0 || got != number || kind != protowire.BytesType {
		return false
	}
	body, m := protowire.ConsumeBytes(buf[n:])
	return m >= 0 && n+m == len(buf) && read(body)
}

func readInput(body []byte, input *pb.Input) bool {
	return eachField(body, func(number protowire.Number, value uint64, data []byte) bool {
		switch {
		case number == inputOffset && data == nil:
			input.Offset = value
		case number == inputData && data != nil:
			input.Data = data
		case number == inputEOF && data == nil:
			input.Eof = value != 0
		default:
			return false
		}
		return true
	})
}

func readOutput(body []byte, output *pb.Output) bool {
	return eachField(body, func(number protowire.Number, value uint64, data []byte) bool {
		switch {
		case number == outputStream && data == nil:
			output.Stream = pb.OutputStream(int32(value))
		case number == outputOffset && data == nil:
			output.Offset = value
		case number == outputData && data != nil:
			output.Data = data
		default:
			return false
		}
		return true
	})
}

// eachField gives each field of a message that has varints and bytes only; data is nil for a varint. It returns false
// where take does, or where body is no such message.
func eachField(body []byte, take func(number protowire.Number, value uint64, data []byte) bool) bool {
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return false
		}
		body = body[n:]
		var value uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(body)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(body)
		default:
			return false
		}
		if n < 0 || !take(number, value, data) {
			return false
		}
		body = body[n:]
	}
	return true
}

// inputOf is the input with data that m is, or nil.
func inputOf(m proto.Message) *pb.Input {
	frame, ok := m.(*pb.ToPod)
	if !ok || len(frame.GetInput().GetData()) == 0 {
		return nil
	}
	return frame.GetInput()
}

// twice takes a header and data from two places at once.
type twice interface {
	Write2(header, data []byte) (int, error)
}

// twiceOf is w as such, or nil.
func twiceOf(w io.Writer) twice {
	conn, _ := w.(twice)
	return conn
}

// appendInputHeader appends a frame of input up to its data, which goes last.
func appendInputHeader(to []byte, input *pb.Input) []byte {
	var fields []byte
	if input.Offset != 0 {
		fields = protowire.AppendVarint(protowire.AppendTag(fields, inputOffset, protowire.VarintType), input.Offset)
	}
	if input.Eof {
		fields = protowire.AppendVarint(protowire.AppendTag(fields, inputEOF, protowire.VarintType), 1)
	}
	fields = protowire.AppendTag(fields, inputData, protowire.BytesType)
	fields = protowire.AppendVarint(fields, uint64(len(input.Data)))
	to = protowire.AppendTag(to, toPodInput, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(len(fields)+len(input.Data)))
	return append(to, fields...)
}
