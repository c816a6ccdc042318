// einsum and tensordot: sums of products over named dimensions, as matrix products of pairs from
// left to right.
#include <array>

#include "ops/arithmetic.h"
#include "ops/matmul.h"
#include "ops/reduction.h"
#include "ops/views.h"

namespace flambeau {
namespace {

// Dimensions are numbered: 0 to 51 the letters A to Z, a to z; the ellipsis' from 52 on.
constexpr int kLetters = 52;
using Labels = SmallVector<int, 12>;

struct Term {
  TensorRef x;
  Labels labels;  // one for each dimension
};

bool has(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

int label_of(char letter, size_t at) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  fail("einsum(): invalid subscript given at index ", at,
       " in the equation string, subscripts must be in [a-zA-Z], got '", letter, "'");
}
char letter_of(int label) {
  if (label >= kLetters) return '.';
  return static_cast<char>(label < 26 ? 'A' + label : 'a' + label - 26);
}

// A side's subscripts; the ellipsis is one label, kLetters, for now.
Labels parse_subscripts(const std::string& equation, size_t begin, size_t end) {
  Labels labels;
  for (size_t i = begin; i < end; ++i) {
    if (equation[i] == ' ') continue;
    if (equation[i] != '.') {
      labels.push_back(label_of(equation[i], i));
      continue;
    }
    require(i + 2 < end && equation.compare(i, 3, "...") == 0, "einsum(): found \'.\' at index ", i,
            " that is not part of any ellipsis");
    require(!has(labels, kLetters), "einsum(): found \'.\' at index ", i,
            " for which an ellipsis was already found");
    labels.push_back(kLetters);
    i += 2;
  }
  return labels;
}

struct Equation {
  std::vector<Labels> inputs;
  bool has_output = false;
  Labels output;

  explicit Equation(const std::string& text) {
    size_t arrow = text.find("->"), end = std::min(arrow, text.size());
    for (size_t begin = 0; begin <= end;) {
      size_t comma = std::min(text.find(',', begin), end);
      inputs.push_back(parse_subscripts(text, begin, comma));
      begin = comma + 1;
    }
    has_output = arrow != std::string::npos;
    if (has_output) output = parse_subscripts(text, arrow + 2, text.size());
  }
};

// Replaces the ellipsis by the last `count` of its numbered dimensions.
void expand_ellipsis(Labels& labels, int64_t count, int64_t longest) {
  Labels result;
  for (int label : labels) {
    if (label < kLetters) {
      result.push_back(label);
    } else {
      for (int64_t i = longest - count; i < longest; ++i) {
        result.push_back(kLetters + static_cast<int>(i));
      }
    }
  }
  labels = result;
}

// A label that occurs twice in one term stands for the diagonal.
Term without_repeats(TensorRef x, const Labels& labels, size_t operand) {
  Term term{std::move(x), {}};
  for (int label : labels) {
    int64_t now = term.labels.size();
    auto* first = std::find(term.labels.begin(), term.labels.end(), label);
    if (first == term.labels.end()) {
      term.labels.push_back(label);
      continue;
    }
    int64_t at = first - term.labels.begin();
    require(term.x->size(at) == term.x->size(now), "einsum(): subscript ", letter_of(label),
            " is repeated for operand ", operand, " but the sizes don't match, ", term.x->size(now),
            " != ", term.x->size(at));
    term.x = diagonal(term.x, 0, at, now);  // it comes last
    Dims order;
    for (int64_t d = 0; d < term.x->dim() - 1; ++d) order.push_back(d);
    order.insert(at, term.x->dim() - 1);
    term.x = permute(term.x, order);
  }
  return term;
}

// Sums over the labels of a term that neither `keep` nor `other` has.
void sum_out(Term& term, const Labels& keep, const Labels& other) {
  Dims dims;
  Labels rest;
  for (int64_t d = 0; d < term.labels.size(); ++d) {
    int label = term.labels[d];
    if (has(keep, label) || has(other, label))
      rest.push_back(label);
    else
      dims.push_back(d);
  }
  if (dims.empty()) return;
  term.x = sum(term.x, dims);
  term.labels = rest;
}

// Drops dimensions of length one that broadcast against longer ones of the other term.
void squeeze_broadcast(Term& term, const Term& other) {
  for (int64_t d = term.labels.size() - 1; d >= 0; --d) {
    auto* at = std::find(other.labels.begin(), other.labels.end(), term.labels[d]);
    if (at == other.labels.end() || term.x->size(d) != 1) continue;
    if (other.x->size(at - other.labels.begin()) == 1) continue;
    term.x = squeeze(term.x, d);
    term.labels.erase(d);
  }
}

TensorRef ordered(const Term& term, const Labels& labels) {
  Dims order;
  for (int label : labels) {
    order.push_back(std::find(term.labels.begin(), term.labels.end(), label) - term.labels.begin());
  }
  return permute(term.x, order);
}

Labels joined(std::initializer_list<const Labels*> lists) {
  Labels result;
  for (const Labels* list : lists) {
    for (int label : *list) result.push_back(label);
  }
  return result;
}

int64_t length_of(const Term& term, const Labels& labels) {
  int64_t length = 1;
  for (int64_t d = 0; d < term.labels.size(); ++d) {
    if (has(labels, term.labels[d])) length *= term.x->size(d);
  }
  return length;
}

Dims shape_of(const TensorRef& x, int64_t begin, int64_t count) {
  return Dims(x->shape().begin() + begin, x->shape().begin() + begin + count);
}

// The product of two terms, summed over the labels that are not to be kept.
Term multiply(Term a, Term b, const Labels& keep) {
  squeeze_broadcast(a, b);
  squeeze_broadcast(b, a);
  sum_out(a, keep, b.labels);
  sum_out(b, keep, a.labels);
  Labels batch, summed, left, right;
  for (int label : a.labels) {
    (!has(b.labels, label) ? left : has(keep, label) ? batch : summed).push_back(label);
  }
  for (int label : b.labels) {
    if (!has(a.labels, label)) right.push_back(label);
  }
  int64_t rows = length_of(a, left), columns = length_of(b, right), inner = length_of(a, summed);
  int64_t count = length_of(a, batch);
  TensorRef first = ordered(a, joined({&batch, &left, &summed}));
  TensorRef second = ordered(b, joined({&batch, &summed, &right}));
  Dims shape = shape_of(first, 0, batch.size() + left.size());
  for (int64_t d : shape_of(second, batch.size() + summed.size(), right.size())) {
    shape.push_back(d);
  }
  TensorRef product;
  if (summed.empty()) {
    Dims spread = shape_of(first, 0, first->dim());
    for (int64_t i = 0; i < right.size(); ++i) spread.push_back(1);
    Dims other = shape_of(second, 0, batch.size());
    for (int64_t i = 0; i < left.size(); ++i) other.push_back(1);
    for (int64_t i = batch.size(); i < second->dim(); ++i) other.push_back(second->size(i));
    product = mul(reshape(first, spread), reshape(second, other));
  } else if (batch.empty()) {
    product = mm(reshape(first, {rows, inner}), reshape(second, {inner, columns}));
  } else {
    product = bmm(reshape(first, {count, rows, inner}), reshape(second, {count, inner, columns}));
  }
  return {reshape(product, shape), joined({&batch, &left, &right})};
}

// Checks the operands against the equation and numbers the ellipsis' dimensions.
std::vector<Term> bind(Equation& equation, const TensorList& operands) {
  size_t count = equation.inputs.size();
  require(count <= operands.size(),
          "einsum(): fewer operands were provided than specified in the equation: ",
          operands.size(), " for ", count);
  require(count >= operands.size(),
          "einsum(): more operands were provided than specified in the equation: ", operands.size(),
          " for ", count);
  int64_t longest = 0;
  for (size_t i = 0; i < count; ++i) {
    const Labels& labels = equation.inputs[i];
    bool open = has(labels, kLetters);
    int64_t named = labels.size() - open, rank = operands[i]->dim();
    require(open ? named <= rank : named == rank,
            "einsum(): the number of subscripts in the equation (", named,
            ") does not match the number of dimensions (", rank, ") for operand ", i,
            open ? "" : " and no ellipsis was given");
    if (open) longest = std::max(longest, rank - named);
  }
  std::vector<Term> terms;
  std::array<int64_t, kLetters + 64> sizes;
  sizes.fill(1);
  for (size_t i = 0; i < count; ++i) {
    Labels& labels = equation.inputs[i];
    expand_ellipsis(labels, operands[i]->dim() - labels.size() + 1, longest);
    terms.push_back(without_repeats(operands[i], labels, i));
    const Term& term = terms.back();
    for (int64_t d = 0; d < term.labels.size(); ++d) {
      int64_t& size = sizes[term.labels[d]];
      require(size == 1 || term.x->size(d) == 1 || size == term.x->size(d), "einsum(): subscript ",
              letter_of(term.labels[d]), " has size ", term.x->size(d), " for operand ", i,
              " which does not broadcast with previously seen size ", size);
      if (term.x->size(d) != 1) size = term.x->size(d);
    }
  }
  if (equation.has_output) expand_ellipsis(equation.output, longest, longest);
  return terms;
}

// Without "->": the ellipsis, then the letters that occur once, in order.
void choose_output(Equation& equation, const std::vector<Labels>& inputs) {
  std::array<int, kLetters + 64> uses{};
  for (const Labels& labels : inputs) {
    for (int label : labels) ++uses[label];
  }
  for (int label = kLetters; label < kLetters + 64; ++label) {
    if (uses[label]) equation.output.push_back(label);
  }
  for (int label = 0; label < kLetters; ++label) {
    if (uses[label] == 1) equation.output.push_back(label);
  }
}

void check_output(const Equation& equation) {
  Labels seen;
  for (int label : equation.output) {
    require(!has(seen, label), "einsum(): output subscript ", letter_of(label),
            " appears more than once in the output");
    seen.push_back(label);
    bool known = label >= kLetters;
    for (const Labels& labels : equation.inputs) known = known || has(labels, label);
    require(known, "einsum(): output subscript ", letter_of(label),
            " does not appear in the equation for any input operand");
  }
}

TensorRef einsum(const std::string& text, const TensorList& operands) {
  require(!operands.empty(), "einsum(): must provide at least one operand");
  for (const TensorRef& operand : operands) {
    require(operand->dim() <= 64, "einsum(): operands of at most 64 dimensions, got ",
            operand->dim());
  }
  Equation equation(text);
  std::vector<Term> terms = bind(equation, operands);
  if (!equation.has_output) choose_output(equation, equation.inputs);
  check_output(equation);
  Term result = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    Labels keep = equation.output;
    for (size_t j = i + 1; j < terms.size(); ++j) keep = joined({&keep, &terms[j].labels});
    result = multiply(std::move(result), std::move(terms[i]), keep);
  }
  sum_out(result, equation.output, {});
  // An ellipsis of the output that no operand's covers has no dimensions.
  Labels output;
  for (int label : equation.output) {
    if (has(result.labels, label)) output.push_back(label);
  }
  return ordered(result, output);
}
OPERATOR_FORMS(einsum, "einsum", "equation, operands", kPrivate,
               "Sums of products over named dimensions (flambeau.einsum without its other "
               "notations).")
    .autocast("lower");

// --- tensordot

TensorRef tensordot(const TensorRef& a, const TensorRef& b, const Dims& dims_a,
                    const Dims& dims_b) {
  require(dims_a.size() == dims_b.size(),
          "tensordot: both dimension lists should have same length, got ", dims_a, " and ", dims_b);
  Dims from_a = wrap_dimensions(dims_a, a->dim(), "tensordot");
  Dims from_b = wrap_dimensions(dims_b, b->dim(), "tensordot");
  TensorRef x = a, y = b;
  int64_t inner = 1, rows = 1, columns = 1;
  for (int64_t i = 0; i < from_a.size(); ++i) {
    int64_t p = x->size(from_a[i]), q = y->size(from_b[i]);
    if (p != 1 && q == 1) x = sum(x, {from_a[i]}, true);
    if (q != 1 && p == 1) y = sum(y, {from_b[i]}, true);
    require(p == q || p == 1 || q == 1,
            "tensordot: contracted dimensions need to match, but first has size ", p, " in dim ",
            dims_a[i], " and second has size ", q, " in dim ", dims_b[i]);
    inner *= x->size(from_a[i]);
  }
  Dims order_a, order_b = from_b, shape;
  for (int64_t d = 0; d < a->dim(); ++d) {
    if (std::find(from_a.begin(), from_a.end(), d) != from_a.end()) continue;
    order_a.push_back(d);
    shape.push_back(a->size(d));
    rows *= a->size(d);
  }
  for (int64_t d : from_a) order_a.push_back(d);
  for (int64_t d = 0; d < b->dim(); ++d) {
    if (std::find(from_b.begin(), from_b.end(), d) != from_b.end()) continue;
    order_b.push_back(d);
    shape.push_back(b->size(d));
    columns *= b->size(d);
  }
  TensorRef product = mm(reshape(permute(x, order_a), {rows, inner}),
                         reshape(permute(y, order_b), {inner, columns}));
  return reshape(product, shape);
}
OPERATOR_FORMS(tensordot, "tensordot", "input, other, dims_a, dims_b", kPrivate,
               "Products summed over pairs of dimensions (flambeau.tensordot with both lists).")
    .autocast("lower on cpu, promote on cuda");

}  // namespace
}  // namespace flambeau
