package protocol

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Lease calls a [sdk.Leaser] that nobody has opened.
func (s *server) Lease(ctx context.Context, req *pb.LeaseRequest) (*pb.LeaseResponse, error) {
	w := req.GetStep()
	st := s.make(sdk.KindSink, w.GetType())
	var leaser sdk.Leaser
	if st != nil {
		leaser, _ = st.sink.(sdk.Leaser)
	}
	if leaser == nil {
		return nil, status.Errorf(codes.InvalidArgument, "cannot keep a lease in %q", w.GetType())
	}
	s.mu.Lock()
	env := &sdk.Env{
		Address: w.GetAddress(), Args: raw(w.GetArgsJson()), Connection: raw(w.GetConnectionJson()), Clock: s.clock,
		Log: s.log.With("step", w.GetAddress()),
	}
	s.mu.Unlock()
	st.log = env.Log
	var row sdk.LeaseRow
	err := st.guard("lease", func() (err error) {
		row, err = leaser.Lease(ctx, env, sdk.LeaseRequest{
			Name: req.GetName(), Write: req.GetWrite(), Revision: req.GetRevision(), Holder: req.GetHolder(),
		})
		return err
	})
	if err != nil {
		return &pb.LeaseResponse{Failure: failed(err)}, nil
	}
	return &pb.LeaseResponse{
		Revision: utf8(row.Revision), Holder: utf8(row.Holder), Written: row.Written, Changed: nanos(row.Changed), Now: nanos(row.Now),
	}, nil
}

// Survey calls an open [sdk.Surveyor].
func (s *server) Survey(ctx context.Context, req *pb.SurveyRequest) (*pb.SurveyResponse, error) {
	st, err := s.begin(req.GetStep())
	if err != nil {
		return nil, err
	}
	defer st.calls.Done()
	surveyor, ok := st.sink.(sdk.Surveyor)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "survey: not a sink that surveys")
	}
	ask := sdk.SurveyRequest{
		Sample: raw(req.GetSampleJson()), Seq: req.GetSeq(), Statuses: req.GetStatuses(), Ago: time.Duration(req.GetAgoMs()) * time.Millisecond,
	}
	var found sdk.Survey
	if err := st.guard("survey", func() (err error) { found, err = surveyor.Survey(ctx, ask); return err }); err != nil {
		return &pb.SurveyResponse{Failure: failed(err)}, nil
	}
	w := &pb.SurveyResponse{
		Rows: found.Rows, Where: utf8(found.Where), Since: nanos(found.Since), First: found.First, Last: found.Last, Old: found.Old, Fresh: found.Fresh,
	}
	for _, x := range found.Waiting {
		w.Waiting = append(w.Waiting, &pb.Waiting{
			Status: utf8(x.Status), First: x.First, Last: x.Last, Fresh: uint64(x.Fresh), Old: uint64(x.Old),
		})
	}
	return w, nil
}

// PositionAfter calls an open [sdk.Positioner].
func (s *server) PositionAfter(ctx context.Context, req *pb.PositionRequest) (*pb.PositionResponse, error) {
	st, err := s.begin(req.GetStep())
	if err != nil {
		return nil, err
	}
	defer st.calls.Done()
	source, ok := st.source.(sdk.Positioner)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "position: not a source that knows positions")
	}
	var position []byte
	if err := st.guard("position", func() (err error) { position, err = source.PositionAfter(ctx, req.GetSeq()); return err }); err != nil {
		return &pb.PositionResponse{Failure: failed(err)}, nil
	}
	return &pb.PositionResponse{Position: position}, nil
}

func failed(err error) *pb.Outcome {
	o := sdk.OutcomeOf(err)
	return writeOutcome(&o)
}
