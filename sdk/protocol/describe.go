package protocol

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

func writeDescription(p *sdk.Plugin) (*pb.Description, error) {
	w := &pb.Description{Name: p.Name, Version: p.Version, Can: []string{canChain}}
	for _, c := range p.Connections {
		args, err := writeArgs(c.Args)
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", c.Type, err)
		}
		w.Connections = append(w.Connections, &pb.Connection{Type: c.Type, Doc: c.Doc, Args: args})
	}
	for _, c := range p.Components {
		args, err := writeArgs(c.Args)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Kind, c.Type, err)
		}
		lease, err := writeArgs(c.Lease)
		if err != nil {
			return nil, fmt.Errorf("%s %s: lease: %w", c.Kind, c.Type, err)
		}
		w.Components = append(w.Components, &pb.Component{
			Kind: string(c.Kind), Type: c.Type, Doc: c.Doc, Connection: c.Connection,
			Args: args, Receipt: writeFields(c.Receipt), Accepts: c.Accepts, Emits: c.Emits, Fields: writeFields(c.Fields),
			Opaque: c.Opaque, RetentionMs: milliseconds(c.Retention), MakesFiles: c.MakesFiles, FilesOnly: c.FilesOnly, Probes: c.Probes,
			MaxRecords: uint32(c.MaxRecords), MaxBytes: uint64(c.MaxBytes), MaxInFlight: uint32(c.MaxInFlight),
			Effect: string(c.Effect), Holds: c.Holds,
			Lease: lease, Surveys: c.Surveys, Positions: c.Positions,
		})
	}
	return w, nil
}

func readDescription(w *pb.Description) (sdk.Plugin, error) {
	p := sdk.Plugin{Name: w.GetName(), Version: w.GetVersion()}
	for _, c := range w.GetConnections() {
		args, err := readArgs(c.GetArgs())
		if err != nil {
			return p, fmt.Errorf("connection %s: %w", c.GetType(), err)
		}
		p.Connections = append(p.Connections, sdk.Connection{Type: c.GetType(), Doc: c.GetDoc(), Args: args})
	}
	for _, c := range w.GetComponents() {
		kind := sdk.ComponentKind(c.GetKind())
		switch kind {
		case sdk.KindSource, sdk.KindTransform, sdk.KindSink:
		default:
			return p, fmt.Errorf("component %s: unknown kind %q", c.GetType(), kind)
		}
		switch effect := sdk.Effect(c.GetEffect()); {
		case effect != sdk.Idempotent && effect != sdk.Once: // what is newer and not understood may do harm
			return p, fmt.Errorf("%s %s: unknown effect %q", kind, c.GetType(), effect)
		case kind != sdk.KindSink && (effect != sdk.Idempotent || c.GetHolds()):
			return p, fmt.Errorf("%s %s: effect and holds are for sinks", kind, c.GetType())
		}
		args, err := readArgs(c.GetArgs())
		if err != nil {
			return p, fmt.Errorf("%s %s: %w", kind, c.GetType(), err)
		}
		lease, err := readArgs(c.GetLease())
		if err != nil {
			return p, fmt.Errorf("%s %s: lease: %w", kind, c.GetType(), err)
		}
		p.Components = append(p.Components, sdk.Component{
			Kind: kind, Type: c.GetType(), Doc: c.GetDoc(), Connection: c.GetConnection(),
			Args: args, Receipt: readFields(c.GetReceipt()), Accepts: c.GetAccepts(), Emits: c.GetEmits(), Fields: readFields(c.GetFields()),
			Opaque: c.GetOpaque(), Retention: duration(c.GetRetentionMs()),
			MakesFiles: c.GetMakesFiles(), FilesOnly: c.GetFilesOnly(), Probes: c.GetProbes(),
			MaxRecords: int(c.GetMaxRecords()), MaxBytes: int64(min(c.GetMaxBytes(), math.MaxInt64)), MaxInFlight: int(c.GetMaxInFlight()),
			Effect: sdk.Effect(c.GetEffect()), Holds: c.GetHolds(),
			Lease: lease, Surveys: c.GetSurveys(), Positions: c.GetPositions(),
		})
	}
	return p, nil
}

func writeArgs(args []sdk.Arg) ([]*pb.Arg, error) {
	var list []*pb.Arg
	for _, a := range args {
		w := &pb.Arg{Name: a.Name, Type: string(a.Type), Required: a.Required, Secret: a.Secret, OneOf: a.OneOf, Doc: a.Doc,
			PerRecord: a.PerRecord, PerFile: a.PerFile, IsBlock: a.Block != nil}
		var err error
		if a.Default != nil {
			if w.DefaultJson, err = json.Marshal(a.Default); err != nil {
				return nil, fmt.Errorf("argument %s: default: %w", a.Name, err)
			}
		}
		if w.Block, err = writeArgs(a.Block); err != nil {
			return nil, fmt.Errorf("block %s: %w", a.Name, err)
		}
		list = append(list, w)
	}
	return list, nil
}

func readArgs(list []*pb.Arg) ([]sdk.Arg, error) {
	var args []sdk.Arg
	for _, w := range list {
		a := sdk.Arg{Name: w.GetName(), Type: sdk.Type(w.GetType()), Required: w.GetRequired(), Secret: w.GetSecret(), OneOf: w.GetOneOf(),
			Doc: w.GetDoc(), PerRecord: w.GetPerRecord(), PerFile: w.GetPerFile()}
		if len(w.GetDefaultJson()) > 0 {
			if err := json.Unmarshal(w.GetDefaultJson(), &a.Default); err != nil {
				return nil, fmt.Errorf("argument %s: default: %w", a.Name, err)
			}
		}
		var err error
		if a.Block, err = readArgs(w.GetBlock()); err != nil {
			return nil, fmt.Errorf("block %s: %w", a.Name, err)
		}
		if w.GetIsBlock() && a.Block == nil {
			a.Block = []sdk.Arg{}
		}
		args = append(args, a)
	}
	return args, nil
}

func writeFields(fields []sdk.Field) []*pb.Field {
	var list []*pb.Field
	for _, f := range fields {
		list = append(list, &pb.Field{Name: f.Name, Type: string(f.Type), Doc: f.Doc})
	}
	return list
}

func readFields(list []*pb.Field) []sdk.Field {
	var fields []sdk.Field
	for _, w := range list {
		fields = append(fields, sdk.Field{Name: w.GetName(), Type: sdk.Type(w.GetType()), Doc: w.GetDoc()})
	}
	return fields
}
