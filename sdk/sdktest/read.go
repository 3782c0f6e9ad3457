package sdktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weir-etl/weir/sdk/protocol"
)

// read reads from position until the source is drained or has ended.
func (b *bench) read(position []byte) ([]protocol.Page, error) {
	ctx, cancel := b.soon()
	defer cancel()
	r, err := b.client.Read(ctx, b.step, position)
	if err != nil {
		return nil, b.clean(err)
	}
	defer r.Close()
	if err := r.Credit(1, 1); err != nil && err != io.EOF {
		return nil, err
	}
	var pages []protocol.Page
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return pages, nil
		}
		if err != nil {
			return pages, b.clean(err)
		}
		pages = append(pages, p)
		if p.Batch != nil {
			if err := r.Credit(p.Batch.Rows(), int64(p.Batch.BodyBytes())); err != nil && err != io.EOF {
				return pages, err
			}
		}
		if p.Drained {
			return pages, nil
		}
	}
}

// readsOn reads everything, and then again from the position behind each page: what follows must be what followed the first time.
func readsOn(b *bench) error {
	pages, err := b.read(nil)
	if err != nil {
		return err
	}
	all := pageIDs(pages)
	if len(all) == 0 {
		return errors.New("the source has no records to check with")
	}
	sorted := slices.Sorted(slices.Values(all))
	if len(slices.Compact(slices.Clone(sorted))) != len(all) {
		return errors.New("two records have one id")
	}
	for _, p := range pages {
		for i := range rows(p) {
			if kind := p.Batch.Kind(i); len(b.component.Emits) > 0 && !slices.Contains(b.component.Emits, kind) {
				return fmt.Errorf("record %s has kind %q, which is not declared in Emits", p.Batch.ID(i), kind)
			}
		}
	}
	seen := 0
	for k, p := range pages {
		seen += rows(p)
		if p.Position == nil {
			if rows(p) > 0 {
				return fmt.Errorf("page %d has records and no position behind them", k+1)
			}
			continue
		}
		rest, err := b.read(p.Position)
		if err != nil {
			return fmt.Errorf("from the position behind page %d: %w", k+1, err)
		}
		if got, want := pageIDs(rest), all[seen:]; !slices.Equal(got, want) {
			return fmt.Errorf("from the position behind page %d came %d records, the first time %d, or others", k+1, len(got), len(want))
		}
	}
	return nil
}

func rows(p protocol.Page) int {
	if p.Batch == nil {
		return 0
	}
	return p.Batch.Rows()
}

func pageIDs(pages []protocol.Page) []string {
	var list []string
	for _, p := range pages {
		for i := range rows(p) {
			list = append(list, p.Batch.ID(i))
		}
	}
	return list
}

// stops ends reading while the source waits for credit. Closing the step, at the end of the test, waits until it has really ended.
func stops(b *bench) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := b.client.Read(ctx, b.step, nil)
	if err != nil {
		return b.clean(err)
	}
	cancel()
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, context.Canceled) && err != io.EOF {
		return b.clean(err)
	}
	return nil
}
