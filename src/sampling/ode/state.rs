//! What a Runge-Kutta method asks of the ODE: slopes at stages, and the norms of their sums.

use super::{Ode, columns};
use crate::error::{Error, Result};
use crate::ops::sampler_step::Norm;
use crate::sampling::runge_kutta::{OdeState, StartNorms, Step, Tableau, Tolerance};

impl Ode {
    /// The RMS norms over a part's elements of (c_y·y + h Σ c_j slope_j) / scale, `h` for each part.
    async fn norms_async(
        &mut self,
        side: Against,
        h: &[f64],
        factors: &[f64],
        of_y: f64,
        tolerance: Tolerance,
    ) -> Result<Vec<f64>> {
        let n = self.shape[0];
        let (plan, table, sums) = match side {
            Against::Itself => &mut self.start,
            Against::New => &mut self.error,
        };
        let mut rows = Vec::with_capacity(n * columns(self.slopes)[1]);
        for image in 0..n {
            let h = h[image.min(h.len() - 1)];
            let factors = factors.iter().map(|f| f * h).chain(std::iter::repeat(0.0)).take(self.slopes);
            rows.extend(factors.chain([of_y, tolerance.rtol, tolerance.atol]).map(|v| v as f32));
        }
        plan.write(table.rows, &rows)?;
        plan.run_async().await?;
        // Of the state, and of the log-density where that is integrated: one number an image.
        let mut squares: Vec<Vec<f32>> = Vec::with_capacity(sums.len());
        for &sum in sums.iter() {
            squares.push(plan.read_async(sum).await?);
        }
        let elements = self.shape.elements() / n + squares.len() - 1;
        Ok(match self.norm {
            Norm::Batch => {
                let total: f64 = squares.iter().map(|s| s.iter().map(|&v| f64::from(v)).sum::<f64>()).sum();
                vec![(total / (n * elements) as f64).sqrt()]
            }
            Norm::Image => (0..n)
                .map(|image| squares.iter().map(|s| f64::from(s[image])).sum::<f64>())
                .map(|total| (total / elements as f64).sqrt())
                .collect(),
        })
    }
}

/// What the scale of a norm takes the larger of, beside the state.
#[derive(Clone, Copy)]
enum Against {
    Itself,
    New,
}

impl OdeState for Ode {
    fn parts(&self) -> usize {
        match self.norm {
            Norm::Image => self.shape[0],
            Norm::Batch => 1,
        }
    }

    async fn start_async(&mut self, t: f64, tolerance: Tolerance) -> Result<Vec<StartNorms>> {
        self.run_async(&[vec![self.row(t, 0.0, 0, &[]); self.shape[0]]]).await?;
        let y = self.norms_async(Against::Itself, &[0.0], &[], 1.0, tolerance).await?;
        let slope = self.norms_async(Against::Itself, &[1.0], &[1.0], 0.0, tolerance).await?;
        Ok(y.into_iter().zip(slope).map(|(y, slope)| StartNorms { y, slope }).collect())
    }

    async fn probe_async(&mut self, steps: &[Step], tolerance: Tolerance) -> Result<Vec<f64>> {
        self.run_async(&[self.rows(steps, 1.0, 1, &[1.0])]).await?;
        self.norms_async(Against::Itself, &[1.0], &[-1.0, 1.0], 0.0, tolerance).await
    }

    async fn attempt_async(
        &mut self,
        method: &Tableau,
        steps: &[Step],
        tolerance: Tolerance,
    ) -> Result<Vec<f64>> {
        if method.slopes() > self.slopes {
            let problem = format!("its {} slopes have no room in an ODE of {}", method.slopes(), self.slopes);
            return Err(Error::invalid("method", method.name, problem));
        }
        let stages = method.c.iter().zip(method.a).enumerate().skip(1);
        let mut rows: Vec<_> = stages.map(|(i, (c, a))| self.rows(steps, *c, i, a)).collect();
        // The slope at the end is the last of the stack, however few the method has.
        rows.push(self.rows(steps, 1.0, self.slopes - 1, method.b));
        self.run_async(&rows).await?;
        let h: Vec<f64> = steps.iter().map(|step| step.h).collect();
        let (stages, last) = method.e.split_at(method.evaluations());
        let mut error = stages.to_vec();
        error.resize(self.slopes - 1, 0.0);
        error.extend(last);
        self.norms_async(Against::New, &h, &error, 0.0, tolerance).await
    }

    async fn accept_async(&mut self, parts: &[bool]) -> Result<()> {
        let accepted = |image: usize| parts[image.min(parts.len() - 1)];
        let rows: Vec<f32> =
            (0..self.shape[0]).map(|image| accepted(image).into()).map(|v: u8| v.into()).collect();
        let (plan, table) = &mut self.accept;
        plan.write(table.rows, &rows)?;
        plan.run_async().await
    }
}
